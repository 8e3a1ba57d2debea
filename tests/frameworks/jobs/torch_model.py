"""Saves a whole model, as the documentation shows, and goes on from it."""

import common
import torch
from polyaxon_helper import get_outputs_path


class TheModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 1)
        self.step = 0

    def forward(self, x):
        return self.layer(x)


model_path = '{}/checkpoint20.pth'.format(get_outputs_path())
the_model = TheModel()
if common.exists(model_path):
    the_model = torch.load(model_path)
common.started(the_model.step, common.digest(p.detach().numpy() for p in the_model.parameters()))

optimizer = torch.optim.SGD(the_model.parameters(), lr=0.01)
while the_model.step < common.LAST:
    optimizer.zero_grad()
    the_model(torch.randn(8, 16)).pow(2).mean().backward()
    optimizer.step()
    the_model.step += 1
    if the_model.step % common.EVERY == 0:
        torch.save(the_model, model_path)
        common.saved(the_model.step, common.digest(p.detach().numpy() for p in the_model.parameters()))
