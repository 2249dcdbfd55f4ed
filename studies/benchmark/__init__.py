"""The benchmark of measures: which of them ranks networks by accuracies that are known, without training any."""
