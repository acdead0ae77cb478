"""Behaviour rows composed of short pieces: in frames, among ordinary sentences, in structures, disguised."""
