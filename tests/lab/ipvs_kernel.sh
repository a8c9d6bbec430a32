# Inside the lab's kernel: the ipvs module against it (tests/ipvs_kernel.rs). Arguments choose tests by a part of their name.
# LAB_IPVS_KERNEL is the test program, whose path `cargo test --no-run --test ipvs_kernel` prints.
exec "${LAB_IPVS_KERNEL:?the program that \`cargo test --no-run --test ipvs_kernel\` builds}" "$@"
