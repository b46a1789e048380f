"""SurfEmb (Haugaard and Buch, CVPR 2022): dense correspondence distributions over the surface."""
