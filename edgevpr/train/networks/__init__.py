"""Networks: backbones, aggregators, their files and export."""
