"""INT8 after training for OpenVINO, by NNCF. Knows nothing of files, nor of what it costs."""

from __future__ import annotations

import logging
import os
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from torch import Tensor

os.environ["NNCF_CI"] = "1"  # before it is imported: it would report its use

import nncf
from nncf.quantization.range_estimator import RangeEstimatorParametersSet


def quantized(model: Any, images: Tensor, input_name: str) -> Any:
    """`model` with INT8 weights and activations; biases are corrected.

    The ranges of activations come from `images` [N, C, R, R], one after the other.
    """
    nncf.set_log_level(logging.ERROR)
    samples = nncf.Dataset(list(images.numpy()[:, None]), lambda image: {input_name: image})
    with redirect_stdout(StringIO()):  # progress bars
        return nncf.quantize(
            model,
            samples,
            # Activations that are not symmetric (h-swish) keep their whole range.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            # By default ranges are means of each image's extremes: a point worse on small subnets.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.HISTOGRAM
            ),
        )
