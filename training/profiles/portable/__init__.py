"""What measures a device, here or alone on it: needs Python 3.8, numpy and, there, ONNX Runtime.

`compofa profile --export` packs this folder into a file that runs beside exported nets. So its
modules import nothing of the project but each other, by relative names.
"""
