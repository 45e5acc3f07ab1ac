"""Artifacts: the folders that stages hand to each other.

folder          writer and opener of artifact folders, hashes checked
manifest        manifest.json, JSON records, digests
records         the record in each kind's JSON
space           descriptor space ids
contract        records held to the files they describe; exit_contract those of exits
arrays, tables  readers of npy files and image tables, bounded
features        features artifacts: write, open, join
gallery_files   reader of gallery artifacts, without FAISS
generations     generations of a gallery, their history, the writers' lock
policy          whether what is opened must be signed
sign, trust     Ed25519 keys, signatures of bundles, galleries and engines
"""
