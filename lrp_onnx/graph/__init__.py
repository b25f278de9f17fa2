"""Models as graphs, without LRP: files, sessions, constants, names, subgraphs, the builder of nodes."""
