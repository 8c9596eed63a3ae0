"""Root-key providers behind one small protocol: wrap, unwrap, describe, health."""
