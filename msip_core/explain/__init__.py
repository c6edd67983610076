"""Where a detector looks: Grad-CAM and SHAP of one detection, and how much lies on its border."""
