"""Models as graphs, without LRP: files, sessions, constants, names, bodies, building nodes."""
