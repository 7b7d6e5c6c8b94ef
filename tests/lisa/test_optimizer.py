import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lisa.optimizer import MuonAdamW, SharedMuon, build_optimizer, share_out
from lisa.processes import together


class Net(nn.Module):
    """One of each kind of parameter; the head is tied to nothing, the last layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.conv = nn.Conv2d(1, 4, 2)
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 6, bias=False))
        self.lm_head = nn.Linear(6, 5, bias=False)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, ids):
        return self.lm_head(self.inner(self.embed(ids)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def build(net, name="muon", lr=0.1):
    return build_optimizer(net, name, lr, (0.9, 0.95), 0.0)


def descend(net, optimizer, steps=1):
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.tensor([0, 1, 4])).square().sum().backward()
        optimizer.step()


def test_every_trained_parameter_is_in_one_part_and_frozen_ones_in_none(net):
    optimizer = build(net)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    trained = {id(p) for p in net.parameters() if p.requires_grad}
    assert len(held) == len(set(held))
    assert set(held) == trained
    assert {id(p) for group in build(net, "adamw").param_groups for p in group["params"]} == trained


def test_muon_has_the_matrices_of_hidden_layers_and_adamw_the_rest(net):
    muon, adamw = build(net).parts
    names = {id(p): name for name, p in net.named_parameters()}
    assert [names[id(p)] for p in muon.param_groups[0]["params"]] == ["inner.0.weight", "inner.2.weight"]
    assert {names[id(p)] for p in adamw.param_groups[0]["params"]} == {
        "embed.weight", "conv.weight", "conv.bias", "inner.0.bias", "inner.1.weight", "inner.1.bias", "lm_head.weight",
    }  # fmt: skip


def test_a_head_that_shares_the_embedding_is_in_one_part_only(net):
    net.lm_head = nn.Linear(4, 5, bias=False)
    net.lm_head.weight = net.embed.weight
    held = [id(p) for group in build(net).param_groups for p in group["params"]]
    assert held.count(id(net.embed.weight)) == 1


def test_the_rate_that_a_scheduler_sets_reaches_both_parts(net):
    optimizer = build(net)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    descend(net, optimizer)
    scheduler.step()
    assert [part.param_groups[0]["lr"] for part in optimizer.parts] == [0.0, 0.0]
    before = copy.deepcopy(net.state_dict())
    descend(net, optimizer)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_step_moves_every_part_and_nothing_that_is_frozen(net):
    before = copy.deepcopy(net.state_dict())
    descend(net, build(net))
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(before[name], tensor)}
    assert {name.rsplit(".", 1)[0] for name in moved} == {"embed", "inner.0", "inner.1", "inner.2", "lm_head"}


def test_adamws_part_is_plain_adamw(net):
    other = copy.deepcopy(net)
    descend(net, build(net, "muon"))
    descend(other, torch.optim.AdamW(other.parameters(), lr=0.1, betas=(0.9, 0.95), weight_decay=0.0))
    assert torch.equal(net.embed.weight, other.embed.weight)
    assert not torch.equal(net.inner[0].weight, other.inner[0].weight)


def test_after_a_round_trip_of_its_state_the_next_steps_are_the_same(net):
    optimizer = build(net)
    descend(net, optimizer, steps=3)
    twin = copy.deepcopy(net)
    other = build(twin, lr=0.7)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(net, optimizer, steps=2)
    descend(twin, other, steps=2)
    assert all(torch.equal(twin.state_dict()[name], tensor) for name, tensor in net.state_dict().items())
    assert [group["lr"] for group in other.param_groups] == [group["lr"] for group in optimizer.param_groups]


def test_a_scheduler_reaches_both_parts_after_a_round_trip_too(net):
    optimizer = build(net)
    descend(net, optimizer)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = 0.25
    assert [part.param_groups[0]["lr"] for part in optimizer.parts] == [0.25, 0.25]


def test_gradients_are_cleared_in_both_parts(net):
    optimizer = build(net)
    descend(net, optimizer)
    optimizer.zero_grad()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in net.parameters())


def test_muon_and_adamw_learn(net):
    for name in ("muon", "adamw"):
        twin = copy.deepcopy(net)
        optimizer = build(twin, name, lr=0.01)
        assert isinstance(optimizer, MuonAdamW) == (name == "muon")
        first = twin(torch.tensor([0, 1, 4])).square().sum().item()
        descend(twin, optimizer, steps=20)
        assert twin(torch.tensor([0, 1, 4])).square().sum().item() < 0.5 * first


def some_matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(torch.randn(*shape, generator=generator)) for shape in [(4, 6), (8, 8), (3, 3), (6, 4), (2, 9)]
    ]


def three_steps(matrices: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> dict:
    """The last matrix never has a gradient."""
    for step in range(3):
        for number, matrix in enumerate(matrices[:-1]):
            matrix.grad = torch.cos(torch.arange(matrix.numel()) * (1.0 + number + step)).view_as(matrix)
        gradients = [matrix.grad for matrix in matrices]
        optimizer.step()
        assert all(matrix.grad is gradient for matrix, gradient in zip(matrices, gradients, strict=True))
    return {"matrices": [matrix.detach() for matrix in matrices], "optimizer": optimizer.state_dict()}


def step_together(argv: list[str]) -> None:
    with together(int(argv[1]), step_together, argv):
        matrices = some_matrices()
        result = three_steps(matrices, SharedMuon(matrices, weight_decay=0.1))
        torch.save(result, Path(argv[0]) / f"{dist.get_rank()}.pt")


def test_processes_that_share_muons_products_all_hold_what_torchs_own_muon_gives(tmp_path):
    step_together([str(tmp_path), "3"])
    matrices = some_matrices()
    expected = three_steps(matrices, torch.optim.Muon(matrices, weight_decay=0.1))
    for rank in range(3):
        seen = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(map(torch.equal, seen["matrices"], expected["matrices"]))
        assert seen["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]
        momenta = [one["optimizer"]["state"] for one in (seen, expected)]
        assert momenta[0].keys() == momenta[1].keys() == {0, 1, 2, 3}
        assert all(torch.equal(momenta[0][n]["momentum_buffer"], momenta[1][n]["momentum_buffer"]) for n in momenta[0])


def test_shares_cost_about_the_same_and_leave_nothing_out():
    matrices = [torch.empty(size, 2 * size) for size in (8, 8, 8, 8, 4, 4)] + [torch.empty(64, 1)]
    shares = share_out(matrices, 2)
    assert sorted(map(id, matrices)) == sorted(id(matrix) for share in shares for matrix in share)
    assert [sum(matrix.shape == (8, 16) for matrix in share) for share in shares] == [2, 2]
    assert share_out(matrices[:1], 3) == [[matrices[0]], [], []]
