import os, sys
program = os.path.join(os.path.dirname(os.path.realpath(__file__)), "predict3dunet")
os.execv(program, ["predict3dunet", *sys.argv[1:]])
