#!/usr/bin/python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""NumPy arrays in DMA buffers, without a copy."""

import sys

import numpy
import rust_dma

with rust_dma.Context(*sys.argv[1:2]) as context:
    buffer = context.allocate(512, "float64")
    numbers = numpy.asarray(buffer)  # the buffer itself, as 512 numbers
    numbers[:] = numpy.sqrt(numpy.arange(len(numbers)))
    context.to_device(buffer)

    numbers[:] = 0
    context.from_device(buffer)
    difference = numpy.abs(numbers - numpy.sqrt(numpy.arange(len(numbers)))).max()

    print(f"{len(numbers)} square roots went into the device and came back; the largest difference is {difference}.")
    sys.exit(int(difference != 0))
