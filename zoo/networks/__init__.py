"""The networks: random-skip cells, DenseNets, MLPs, ResNets and MobileNetV2, their names and initial weights."""
