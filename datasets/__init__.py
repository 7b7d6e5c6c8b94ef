"""Files on disk -> samples: the official dataset formats, read without torch.

Not Hugging Face's package of the same name: this folder is part of the checkout and stays out of the wheel.
"""
