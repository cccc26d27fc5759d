"""Trains a small PyTorch network with a margin head, and compares images of classes outside the training set.

    pip install ./bindings/python torch scikit-learn
    python bindings/python/examples/train_network.py

A network that is trained with an angular margin gives embeddings whose directions identify classes: images of digits
that are not among the training classes are distinguished by their cosines alone. It takes some seconds.
"""

import torch
from sklearn.datasets import load_digits
from softmargin.torch import MarginHead


def images(digits):
    """Returns the images of some digits (N, 1, 8, 8), from 0 to 1, and their labels, from 0."""
    found = load_digits()
    chosen = torch.isin(torch.tensor(found.target), torch.tensor(digits))
    labels = torch.searchsorted(torch.tensor(digits), torch.tensor(found.target)[chosen])
    return torch.tensor(found.images, dtype=torch.float32)[chosen, None] / 16.0, labels


def main():
    torch.manual_seed(0)
    known, unknown = [0, 1, 2, 3, 4, 5, 6], [7, 8, 9]
    x, labels = images(known)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3, stride=2, padding=1), torch.nn.BatchNorm2d(64), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(64 * 16, 32),
    )  # fmt: skip
    # The only line that differs from training with cross-entropy: the last layer and its loss.
    head = MarginHead(embedding_size=32, num_classes=len(known), loss="arcface", scale=16, margin=0.3)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=3e-3)
    for epoch in range(8):
        total = 0.0
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = head(network(x[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1}: loss {total / len(x):.3f}")
    network.eval()
    with torch.no_grad():
        right = (head.scores(network(x)).argmax(1) == labels).float().mean().item()
        new, classes = images(unknown)
        directions = torch.nn.functional.normalize(network(new))
        nearest = (directions @ directions.T).fill_diagonal_(-1.0).argmax(1)
        same = (classes[nearest] == classes).float().mean().item()
    print(f"of the known digits {right:.1%} are correct")
    print(f"of the unknown ones {same:.1%} have an image of their own class as the nearest")
    return right, same


if __name__ == "__main__":
    main()
