"""Recognises handwritten digits: a small convolutional network on scikit-learn's 8x8 images.

Every epoch ends with a checkpoint in the experiment's outputs; a run that finds checkpoints there goes
on from the newest. That is all it takes to be resumed or copied.
"""

import argparse
import json
import os
import pathlib
import re

import torch
from sklearn.datasets import load_digits
from torch import nn

from polyaxon_helper import get_experiment_info, get_outputs_path, send_metrics


def load_data():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(7))
    images, labels = images[order], labels[order]
    return (images[:1500], labels[:1500]), (images[1500:], labels[1500:])


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 256), nn.ReLU(), nn.Linear(256, 10),
    )


def newest_checkpoint(outputs):
    found = [
        (int(match.group(1)), path)
        for path in outputs.iterdir()
        for match in [re.fullmatch(r"checkpoint-(\d+)\.pth", path.name)]
        if match
    ]
    return max(found, default=(0, None))


def save_checkpoint(outputs, epoch, model, optimizer):
    """Under its final name only when it is whole: a job killed here loses one epoch, not the file."""
    target = outputs / f"checkpoint-{epoch:03}.pth"
    part = target.with_suffix(".part")
    torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, part)
    os.replace(part, target)


def train_epoch(model, optimizer, images, labels):
    total = 0.0
    for batch in torch.randperm(len(images)).split(32):
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(images)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()

    outputs = pathlib.Path(get_outputs_path() or "outputs")
    outputs.mkdir(parents=True, exist_ok=True)
    name = (get_experiment_info() or {}).get("experiment_name", "none")

    torch.manual_seed(7)
    (images, labels), (test_images, test_labels) = load_data()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)

    done, checkpoint = newest_checkpoint(outputs)
    if checkpoint:
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        for group in optimizer.param_groups:
            group["lr"] = options.lr
        print(f"resuming after epoch {done} from {checkpoint.name}", flush=True)
    else:
        print("no checkpoint, starting from scratch", flush=True)

    for epoch in range(done + 1, options.epochs + 1):
        loss = train_epoch(model, optimizer, images, labels)
        with torch.no_grad():
            accuracy = (model(test_images).argmax(1) == test_labels).float().mean().item()
        save_checkpoint(outputs, epoch, model, optimizer)
        with open(outputs / "history.jsonl", "a") as history:
            history.write(json.dumps({"experiment": name, "epoch": epoch, "lr": options.lr,
                                      "loss": loss, "accuracy": accuracy}) + "\n")
        send_metrics(epoch=epoch, loss=loss, accuracy=accuracy)
        print(f"epoch {epoch}/{options.epochs}  lr {options.lr}  loss {loss:.4f}"
              f"  accuracy {accuracy:.3f}", flush=True)


if __name__ == "__main__":
    main()
