"""Measure them: pure functions of a decoder and tensors."""
