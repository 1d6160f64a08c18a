"""Continuous kernels: small networks of coordinates whose values are the weights of a
convolution.
"""
