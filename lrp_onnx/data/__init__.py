"""What goes into a model: pictures and arrays from files, their preprocessing, random samples."""
