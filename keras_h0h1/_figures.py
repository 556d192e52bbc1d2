"""A matplotlib figure that needs no display, and the colours of all figures."""

from keras_h0h1._types import Figure

# Okabe and Ito's colours tell apart with every common kind of colour vision.
BLACK, GREY, BLUE, ORANGE, GREEN = "#000000", "#999999", "#0072B2", "#D55E00", "#009E73"


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, with a canvas of its own: whatever backend the caller has set up.

    Raises:
        ImportError: If the package `matplotlib` is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "A plot needs the package `matplotlib`: pip install matplotlib. "
            "Received: a call without it"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
