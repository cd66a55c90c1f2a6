"""The modules of configs/quickstart.yaml: documents, retriever, answerer, offline LM and a counter."""
