"""The live page, `serve --ui`: what is being chosen now, and a box to ask with an image. Off unless
asked for."""
