"""Robots of MuJoCo that walk and run, through gymnasium (the extra `mujoco`)."""
