"""Holds N connections to the service for a while. Usage: crowd.py ADDRESS N SECONDS"""
import socket, sys, time

crowd = [socket.create_connection((sys.argv[1], 8080)) for _ in range(int(sys.argv[2]))]
time.sleep(float(sys.argv[3]))
