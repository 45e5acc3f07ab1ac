"""Boards, processors, GPUs, targets."""
