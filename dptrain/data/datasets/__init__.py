"""The data sets that have a name. Each file has a reader and a `Descriptor`; to add a data set, add its file here."""

from dptrain.data.datasets import (
    cifar10,
    cifar100,
    fashion_mini,
    fashion_mnist,
    gtsrb,
    mnist,
    mnist_kaggle,
    sfddd,
    shapes32,
    tiny_imagenet,
)
from dptrain.data.descriptor import Descriptor

#: Name -> data set, in the order in which they are listed.
DATASETS: dict[str, Descriptor] = {
    module.DATASET.name: module.DATASET
    for module in (
        fashion_mini,
        shapes32,
        cifar10,
        cifar100,
        mnist,
        mnist_kaggle,
        fashion_mnist,
        sfddd,
        tiny_imagenet,
        gtsrb,
    )
}
