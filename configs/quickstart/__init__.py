"""The modules of configs/quickstart.yaml: documents, retriever, answerer, offline LM and a counter.

Of answerer and counter there is a second version, for a swap, and what a version has to pass before it serves.
"""
