"""Where arrays lie, and how several processes work as one."""
