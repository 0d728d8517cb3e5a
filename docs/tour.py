"""The Python API in one walk: load, search, plot, extract, run, export.

    python docs/tour.py        # leaves frontier.png and subnet.onnx in the current folder

Each part stands for itself; editors that know `# %%` run one at a time, as a notebook's cells.
"""

# %%
from pathlib import Path

import onnxruntime
import torch

from gateway.commands.search_plot import draw
from gateway.device_classes import DeviceClasses
from gateway.images import decode, normalised
from gateway.request import Constraints
from gateway.select import select
from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.extract import extract
from supernet.latency import read_bundled_tables
from training.exports.export import export

# %% Load. An artifact is a folder: weights, normalisation, a catalog of all subnets, tables.
folder = shipped.artifact_folder()
net = artifact.load(folder)
manifest = net.manifest
print(f"{manifest.name}: {len(manifest.catalog)} subnets, artifact {manifest.artifact_hash[:8]}")

# %% Search. Exact: the most accurate subnet within 8 ms, by a device class's latency table.
phone = DeviceClasses(manifest, read_bundled_tables(folder)).candidates("simulated-4x-slower")
wanted = Constraints("simulated-4x-slower", latency_budget_ms=8.0)
chosen = select(phone, wanted)
print(f"within 8 ms: {chosen.subnet}, {chosen.accuracy:.2%} in {chosen.latency_ms:.2f} ms")

# %% Plot. All subnets, those that nothing beats, and the one chosen.
draw(Path("frontier.png"), phone, wanted, chosen)
print(f"frontier: {len(phone.frontier)} of {len(manifest.catalog)} subnets")

# %% Run. An architecture is a value, handed in: nothing is set, so any number can run at once.
arch = Architecture.parse(chosen.subnet)
pixels = [decode(path.read_bytes(), arch.resolution, channels=1) for path, _ in shipped.images()]
images = torch.stack([torch.from_numpy(normalised(each, manifest.of_images)) for each in pixels])
labels = torch.tensor([manifest.labels.index(label) for _, label in shipped.images()])
logits = net.supernet(images, arch)
right = (logits.argmax(1) == labels).float().mean()
print(f"right on {right:.1%} of {len(images)} images that it has not seen")

# %% Extract. The subnet as plain torch modules that owe the supernet nothing.
subnet = extract(net.supernet, arch)
parameters = sum(each.numel() for each in subnet.parameters())
print(f"extracted: {parameters:,} parameters, off by {(subnet(images) - logits).abs().max():.0e}")

# %% Export. Written, run by ONNX Runtime, compared, and only then put in place.
done = export(net, arch, "onnx", Path("subnet.onnx"))
session = onnxruntime.InferenceSession(done.path)
(answers,) = session.run(["logits"], {"input": images.numpy()})
off = (torch.from_numpy(answers) - logits).abs().max()
print(f"{done.path}: {done.size_bytes:,} bytes, off by {off:.0e}")
