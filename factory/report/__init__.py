"""The stage `report`: what the repositories use and what a plan does for them, as one page and as figures."""
