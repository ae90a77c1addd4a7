"""What an organisation's repositories use, resolved by cargo: `analysis.json`."""
