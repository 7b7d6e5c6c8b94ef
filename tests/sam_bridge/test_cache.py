"""SAM's image embeddings on disk: right, shared, and never another picture's or another model's."""

import copy
import multiprocessing

import pytest
import torch

from sam_bridge import EmbeddingCache, SamHqSize, build_sam
from sam_bridge import encode_images as encode_all
from sam_bridge.cache import hash_encoder


@pytest.fixture
def pixels(sam):
    side = sam.image_encoder.img_size
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))


def encode_images(sam, pixels):
    """SAM 1 has no other embedding; what others have is tested in test_sam_contract.py."""
    return encode_all(sam, pixels).image


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@torch.no_grad()
def test_what_is_kept_is_the_encoders_embedding_in_fp16(sam, pixels, tmp_path):
    cache = EmbeddingCache(tmp_path)
    first = cache.encode(sam, pixels[:2]).image
    torch.testing.assert_close(first, encode_images(sam, pixels[:2]), rtol=1e-3, atol=1e-3)
    assert (cache.hits, cache.misses) == (0, 2)
    again = cache.encode(sam, pixels).image
    assert (cache.hits, cache.misses) == (2, 3)
    assert torch.equal(again[:2], first)  # the same whether it was computed or read
    assert again.dtype == torch.float32
    assert len(files(tmp_path)) == 3


@torch.no_grad()
def test_a_second_run_encodes_nothing(sam, pixels, tmp_path):
    first = EmbeddingCache(tmp_path).encode(sam, pixels).image
    other = copy.deepcopy(sam)
    other.image_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the picture was encoded again"))
    assert torch.equal(EmbeddingCache(tmp_path).encode(other, pixels).image, first)


@torch.no_grad()
def test_another_encoder_gets_other_files_and_another_decoder_does_not(sam, pixels, tmp_path):
    EmbeddingCache(tmp_path).encode(sam, pixels[:1])
    tuned = copy.deepcopy(sam)
    tuned.mask_decoder.mask_tokens.weight += 1
    assert hash_encoder(tuned) == hash_encoder(sam)
    tuned.image_encoder.neck[0].weight[0, 0] += 1e-3
    assert hash_encoder(tuned) != hash_encoder(sam)
    cache = EmbeddingCache(tmp_path)
    kept = cache.encode(tuned, pixels[:1]).image
    torch.testing.assert_close(kept, encode_images(tuned, pixels[:1]), rtol=1e-3, atol=1e-3)
    assert cache.misses == 1
    half = copy.deepcopy(sam).to(torch.bfloat16)
    assert EmbeddingCache(tmp_path).encode(half, pixels[:1]).image.dtype == torch.bfloat16
    assert len(files(tmp_path)) == 3


@torch.no_grad()
def test_a_sam_hq_with_the_encoder_of_a_sam_shares_no_file_with_it(sam, size, pixels, tmp_path, capsys):
    high = build_sam(SamHqSize(**vars(size)))
    high.image_encoder.load_state_dict(sam.image_encoder.state_dict())
    for model in (sam, high, sam, high):
        cache = EmbeddingCache(tmp_path)
        cache.encode(model, pixels)
    assert cache.hits == 3
    assert "damaged" not in capsys.readouterr().err


@torch.no_grad()
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
def test_a_damaged_file_is_named_and_made_anew(sam, pixels, tmp_path, damage, capsys):
    first = EmbeddingCache(tmp_path).encode(sam, pixels[:1]).image
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 0x55
    path.write_bytes({"cut": whole[:-100], "empty": b"", "flipped": bytes(flipped), "other": b"no tensors"}[damage])
    assert torch.equal(EmbeddingCache(tmp_path).encode(sam, pixels[:1]).image, first)
    assert f"{path} is damaged" in capsys.readouterr().err
    assert path.read_bytes() == whole


def fill(sam, pixels, folder, results):
    torch.set_num_threads(1)
    with torch.no_grad():
        results.put(EmbeddingCache(folder).encode(sam, pixels).image.sum().item())


def test_processes_that_fill_it_together_leave_whole_files_only(sam, pixels, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=fill, args=(sam, pixels, tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    sums = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(sums) == 1
    assert [path.suffix for path in files(tmp_path)] == [".safetensors"] * 3


def test_an_encoder_that_learns_is_refused(sam, pixels, tmp_path):
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(ValueError, match="the encoder learns"):
        cache.encode(sam, pixels)
    frozen = copy.deepcopy(sam)
    frozen.image_encoder.requires_grad_(False)
    cache.encode(frozen, pixels)


@torch.no_grad()
def test_no_pictures_give_no_embeddings(sam, pixels, tmp_path):
    assert EmbeddingCache(tmp_path).encode(sam, pixels[:0]).image.shape == encode_images(sam, pixels[:0]).shape


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "kept").write_text("")
    with pytest.raises(ValueError, match="kept is a file; name a folder"):
        EmbeddingCache(tmp_path / "kept")
