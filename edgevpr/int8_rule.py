"""Rule for layers worth INT8, shared by compilation and finetuning."""

#: Multiply-adds per activation element read or written, from which INT8 is worth its Q and DQ.
#: Measured with ONNX Runtime 1.31, one thread, AMD Zen 5 with VNNI: INT8's speed over FP32's, of
#: backbone + BoQ 1024-d, by threshold:
#:
#:   threshold                      8     16     24     32     48     64     96
#:   MobileViTv2-0.5 128 px      0.95   0.98   1.05   1.04   1.07   1.08   1.11
#:   MobileViTv2-0.5 320 px      0.98   1.02   1.13   1.12   1.11   1.11   1.06
#:   MobileViTv2-1.0 320 px      1.26   1.25   1.31   1.31   1.43   1.42   1.24
#:   EfficientViT-B2 224 px      1.45   1.46   1.51   1.51   1.52   1.54   1.47
#:   MobileNetV2-1.0 224 px      1.11   1.24   1.24   1.25   1.25   1.22   1.16
#:   ResNet-18 128 px            2.78   2.79   2.71   2.74   2.71   2.70   2.73
#:
#: It serves accuracy as much: on 200 real frames an ImageNet MobileNetV2 keeps a mean cosine of
#: 0.9985 with this rule (22 layers), 0.944 with all 35 dense convolutions in INT8, 0.931 with the
#: depthwise ones too.
INT8_INTENSITY = 48.0
#: Fewest rows of a matrix product that is worth INT8; below, reading its weights dominates.
INT8_ROWS = 8
