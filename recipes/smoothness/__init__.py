"""The papers' study of curvature against loss, on models and data at hand."""
