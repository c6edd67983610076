"""Own parts of the screen that Streamlit does not have: inline HTML, CSS and JS, no network."""
