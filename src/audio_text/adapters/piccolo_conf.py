"""Where Piccolo finds this project: run its command line with PICCOLO_CONF=audio_text.adapters.piccolo_conf.

The engine leads nowhere by itself. `migrations.py` lends it a connection; `piccolo migrations new` needs none.
"""

from piccolo.conf.apps import AppRegistry

from audio_text.adapters.database import LazyEngine

DB = LazyEngine(config={})
APP_REGISTRY = AppRegistry(apps=["audio_text.adapters.piccolo_app"])
