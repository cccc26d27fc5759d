"""PyTorch process of throughput.py: trains the default network in eager mode, one epoch per line of standard input.

    python torch_training.py SIDE IMAGES LAYOUT THREADS PLAN

PLAN is the JSON printed by `throughput plan SIDE`; LAYOUT is `contiguous` or `channels_last`. The images are floats
in memory without augmentation: PyTorch computes only the network, the loss and the optimizer.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

BATCH, CLASSES, SCALE, MARGIN = 64, 10, 30.0, 0.35


class Layer(nn.Module):
    def __init__(self, inputs, plan):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, plan["channels"], 3, plan["stride"], 1, bias=False)
        self.normalization = nn.BatchNorm2d(plan["channels"])
        self.pool, self.skip = plan["pool"], plan["skip"]

    def forward(self, x):
        y = self.normalization(self.convolution(x))
        if self.skip:
            y = y + x
        return F.relu(F.max_pool2d(y, 2) if self.pool else y)


class Network(nn.Module):
    def __init__(self, plan):
        super().__init__()
        channels, height, width = plan["image"]
        layers = []
        for convolution in plan["convolutions"]:
            layers.append(Layer(channels, convolution))
            channels = convolution["channels"]
        self.layers = nn.Sequential(*layers)
        with torch.no_grad():
            values = self.layers(torch.zeros(2, plan["image"][0], height, width))[0].numel()
        self.embedding = nn.Linear(values, plan["embedding"], bias=False)
        self.normalization = nn.BatchNorm1d(plan["embedding"])
        self.prototypes = nn.Parameter(torch.randn(CLASSES, plan["embedding"]))

    def forward(self, x):
        embedding = self.normalization(self.embedding(self.layers(x).flatten(1)))
        return F.normalize(embedding) @ F.normalize(self.prototypes).T


def train_step(network, optimizer, images, targets):
    """Runs one step with AM-softmax, the default loss of the command."""
    scores = network(images)
    margin = MARGIN * F.one_hot(targets, CLASSES)
    loss = F.cross_entropy(SCALE * (scores - margin), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def create_optimizer(network):
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=1e-3, momentum=0.9, nesterov=True)


def main():
    side, count, layout, threads, plan = sys.argv[1:]
    side, count, plan = int(side), int(count), json.loads(plan)
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    network = Network(plan).to(memory_format=memory)
    optimizer = create_optimizer(network)
    images = torch.randn(count, 1, side, side)
    targets = torch.arange(count) % CLASSES
    for _ in sys.stdin:
        start = time.perf_counter()
        for rows in torch.randperm(count).split(BATCH):
            train_step(network, optimizer, images[rows].to(memory_format=memory), targets[rows])
        print(json.dumps({"images_per_second": count / (time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
