"""Make the models: data, architectures, training, and the cache of fits."""
