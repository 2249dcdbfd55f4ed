"""Package: networks of timm and torchvision, each under its name and as a class that a configuration can name."""
