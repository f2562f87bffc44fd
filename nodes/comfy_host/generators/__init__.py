"""GAN generators in a running graph: their files, their pictures, and a picture's way back into one."""
