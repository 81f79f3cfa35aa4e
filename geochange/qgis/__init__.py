"""How QGIS shows results: styles, forms and a project, for QGIS 3.22 and newer, written without it."""
