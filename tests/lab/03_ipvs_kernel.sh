# The ipvs module against the kernel (tests/lab/ipvs_kernel.rs).
exec "${LAB_IPVS_KERNEL:?the program of tests/lab/ipvs_kernel.rs}"
