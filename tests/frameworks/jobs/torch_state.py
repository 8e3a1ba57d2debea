"""Saves a state dict over the same file, as the documentation shows, and goes on from it."""

import common
import torch
from polyaxon_helper import get_outputs_path
from torch import nn


def make_model():
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))


the_model = make_model()
model_path = '{}/checkpoint1.pth'.format(get_outputs_path())
step = 0
if common.exists(model_path):
    state = torch.load(model_path)
    the_model.load_state_dict(state["model"])
    step = state["step"]
common.started(step, common.digest(p.detach().numpy() for p in the_model.parameters()))

optimizer = torch.optim.SGD(the_model.parameters(), lr=0.01)
while step < common.LAST:
    optimizer.zero_grad()
    the_model(torch.randn(8, 16)).pow(2).mean().backward()
    optimizer.step()
    step += 1
    if step % common.EVERY == 0:
        torch.save({"step": step, "model": the_model.state_dict()}, model_path)
        common.saved(step, common.digest(p.detach().numpy() for p in the_model.parameters()))
