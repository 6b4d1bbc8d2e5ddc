"""A ZooKeeper server for tests: whether there can be one, and the words that start its programs."""
import os
import shutil
import socket

JAR = "/usr/share/java/zookeeper.jar"


def not_possible():
    """Why there can be none here, or None."""
    if os.environ.get("ACESO_TEST_ZOOKEEPER") == "no":
        return "no ZooKeeper wanted (ACESO_TEST_ZOOKEEPER)"
    if shutil.which("java") is None or not os.path.exists(JAR):
        return "no ZooKeeper server here: zookeeper, default-jre-headless"
    return None


def java(megabytes, program, *words):
    return ["java", f"-Xmx{megabytes}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
            "/etc/zookeeper/conf:" + JAR, "org.apache.zookeeper." + program, *words]


def server(base, address, port):
    """One that listens there, and keeps what it has in the folder @base."""
    data, conf = os.path.join(base, "zk"), os.path.join(base, "zoo.cfg")
    os.makedirs(data, exist_ok=True)
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"tickTime=500\ndataDir={data}\nclientPort={port}\nclientPortAddress={address}\n"
                "admin.enableServer=false\nmaxSessionTimeout=20000\n")
    return java(128, "server.ZooKeeperServerMain", conf)


def answers(address, port):
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
