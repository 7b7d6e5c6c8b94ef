"""The doctor: what a dataset folder holds, and everything that is wrong with it, before any model is loaded.

Loaders stop at the first error; the doctor reads the same files with the same primitives (`datasets.files`,
`images`, `masks`, `plain_pickle`) record by record, and goes on.
"""
