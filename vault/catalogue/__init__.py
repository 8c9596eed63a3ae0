"""What may be stored, for what and for how long: the category files and the loader that refuses a bad one."""
