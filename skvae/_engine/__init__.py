"""The torch engine: tensors in, tensors out; ``door`` is its only way to numpy.

Letters in shape comments: **E** members (networks trained side by side), **N** rows,
**D** columns of the thing generated, **C** columns of the condition, **L** latent
dimensions, **S** draws of the latent, **K** mixture components, **P** weights of one
member, **H** hidden units. The member axis always comes first.
"""
