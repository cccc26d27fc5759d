"""A scikit-learn classifier with any loss of the family, on given features.

>>> from sklearn.datasets import load_digits
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from softmargin.sklearn import MarginClassifier
>>> X, y = load_digits(return_X_y=True)
>>> model = make_pipeline(StandardScaler(), MarginClassifier("am-softmax", scale=16, random_state=0))
>>> model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.85
True
"""

from softmargin.sklearn.classifier import MarginClassifier

__all__ = ["MarginClassifier"]
