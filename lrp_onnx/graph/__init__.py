"""Models as graphs, without LRP: files, sessions, constants, names, bodies, the builder of nodes."""
