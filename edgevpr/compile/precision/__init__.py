"""FP16 and INT8 typing of graphs."""
