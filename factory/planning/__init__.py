"""From what repos use to what images hold: layers, selection, recipes, forecast."""
